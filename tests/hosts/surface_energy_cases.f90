! SPDX-License-Identifier: Apache-2.0
!> The energy balance of the surface in cases whose answers are known.
program surface_energy_cases
   use constants, only: freezing_point, heat_capacity_air, latent_heat_fusion, latent_heat_vaporisation, &
      stefan_boltzmann, timestep, wp
   use moist_air, only: saturation_humidity
   use surface_energy, only: balance_surface, emissivity, exchange_t, from_roots, from_snow, surface_t
   implicit none

   type(surface_t) :: surface
   type(exchange_t) :: exchange
   real(wp) :: before

   surface = surface_t(absorbed=600.0_wp, tas=293.0_wp, huss=0.008_wp, ps=98000.0_wp, density=1.16_wp, &
      heat_conductance=0.02_wp, vapour_conductance=[0.0_wp, 0.001_wp, 0.004_wp, 0.0005_wp], &
      supply=[0.0_wp, 10.0_wp, 10.0_wp, 10.0_wp], ground_conductance=16.0_wp, ground_temperature=290.0_wp, snow=0.0_wp)

   ! Bare of limits, the heat into the ground is what the ground conducts.
   call balance_surface(surface, exchange)
   call report('ground', exchange%ground - surface%ground_conductance*(exchange%skin - surface%ground_temperature))
   call report('melt_without_snow', exchange%melt)

   ! Where the air is close to the surface, Penman and Monteith's equation gives the evaporation.
   surface%absorbed = 580.0_wp
   call balance_surface(surface, exchange)
   call report('penman_monteith', sum(exchange%water)/timestep*latent_heat_vaporisation/penman_monteith() - 1.0_wp)
   call report('skin_less_air', exchange%skin - surface%tas)

   ! A path gives no more than it has, and what it does not take warms the surface.
   before = exchange%skin
   surface%supply(from_roots) = 0.05_wp
   call balance_surface(surface, exchange)
   call report('limited_transpiration', exchange%water(from_roots))
   call report('warmer_by', exchange%skin - before)
   call report('ground_when_limited', &
      exchange%ground - surface%ground_conductance*(exchange%skin - surface%ground_temperature))

   ! Deep snow melts at the freezing point.
   surface%absorbed = 500.0_wp
   surface%tas = 278.0_wp
   surface%ground_temperature = 272.0_wp
   surface%ground_conductance = 1.0_wp
   surface%vapour_conductance = [0.02_wp, 0.0_wp, 0.0_wp, 0.0_wp]
   surface%huss = 0.003_wp
   surface%snow = 100.0_wp
   surface%supply = [100.0_wp, 0.0_wp, 0.0_wp, 0.0_wp]
   call balance_surface(surface, exchange)
   call report('skin_of_melting_snow', exchange%skin - freezing_point)
   call report('melt', exchange%melt)
   call report('ground_under_snow', &
      exchange%ground - surface%ground_conductance*(exchange%skin - surface%ground_temperature))

   ! A little snow goes altogether, and the surface warms with what is left.
   surface%snow = 0.1_wp
   surface%supply(from_snow) = 0.1_wp
   call balance_surface(surface, exchange)
   call report('last_snow', 0.1_wp - exchange%melt - exchange%water(from_snow))
   call report('skin_after_snow', exchange%skin - freezing_point)
   call report('sum', surface%absorbed - exchange%emitted - exchange%sensible - exchange%latent - exchange%ground &
      - latent_heat_fusion*exchange%melt/timestep)

contains

   subroutine report(name, value)
      character(len=*), intent(in) :: name
      real(wp), intent(in) :: value

      print '(2a, es24.16)', name, '=', value
   end subroutine report

   real(wp) function penman_monteith() result(latent)
      !! Latent heat by Penman and Monteith, with the available energy of the solved balance [W m-2].
      real(wp) :: available, saturation, slope, psychrometric

      available = surface%absorbed - emissivity*stefan_boltzmann*exchange%skin**4 - exchange%ground
      call saturation_humidity(surface%tas, surface%ps, saturation, slope)
      psychrometric = heat_capacity_air/latent_heat_vaporisation
      latent = (slope*available + surface%density*heat_capacity_air*(saturation - surface%huss) &
         *surface%heat_conductance)/(slope + psychrometric*surface%heat_conductance/sum(surface%vapour_conductance))
   end function penman_monteith
end program surface_energy_cases

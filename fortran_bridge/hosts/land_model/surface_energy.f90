! SPDX-License-Identifier: Apache-2.0
!> The energy balance of the surface: one skin temperature at which what comes in goes out.
!!
!! absorbed radiation = emitted longwave + sensible heat + latent heat + heat into the ground + melting.
module surface_energy
   use constants, only: freezing_point, heat_capacity_air, latent_heat_fusion, latent_heat_sublimation, &
      latent_heat_vaporisation, stefan_boltzmann, timestep, wp
   use moist_air, only: saturation_humidity
   implicit none
   private
   public :: surface_t, exchange_t, balance_surface, emissivity
   public :: from_snow, from_leaves, from_roots, from_soil, path_count

   integer, parameter :: from_snow = 1
      !! Sublimation.
   integer, parameter :: from_leaves = 2
      !! Evaporation of intercepted rain.
   integer, parameter :: from_roots = 3
      !! Transpiration.
   integer, parameter :: from_soil = 4
      !! Evaporation from bare soil.
   integer, parameter :: path_count = 4
      !! Ways by which water reaches the air.

   real(wp), parameter :: latent_heat(path_count) = [latent_heat_sublimation, latent_heat_vaporisation, &
      latent_heat_vaporisation, latent_heat_vaporisation]
   real(wp), parameter :: emissivity = 0.98_wp
      !! Of snow, soil and leaves in the longwave [1].

   type :: surface_t
      !! What the surface has to come to terms with.
      real(wp) :: absorbed
         !! Shortwave and longwave that the surface takes up [W m-2].
      real(wp) :: tas
         !! Air temperature [K].
      real(wp) :: huss
         !! Specific humidity [1].
      real(wp) :: ps
         !! Pressure [Pa].
      real(wp) :: density
         !! Of the air [kg m-3].
      real(wp) :: heat_conductance
         !! For sensible heat [m s-1].
      real(wp) :: vapour_conductance(path_count)
         !! For water vapour on each path, area-weighted [m s-1].
      real(wp) :: supply(path_count)
         !! Water that each path can take in a step [kg m-2].
      real(wp) :: ground_conductance
         !! From the surface to the upper soil layer [W m-2 K-1].
      real(wp) :: ground_temperature
         !! Of the upper soil layer [K].
      real(wp) :: snow
         !! Snow that can melt or sublimate [kg m-2].
   end type surface_t

   type :: exchange_t
      !! What the surface did in a step.
      real(wp) :: skin
         !! Skin temperature [K].
      real(wp) :: water(path_count)
         !! Water given to the air on each path; negative: dew and frost [kg m-2].
      real(wp) :: melt
         !! [kg m-2]
      real(wp) :: sensible
         !! [W m-2]
      real(wp) :: latent
         !! [W m-2]
      real(wp) :: emitted
         !! Longwave [W m-2].
      real(wp) :: ground
         !! Into the soil [W m-2].
   end type exchange_t

contains

   pure subroutine balance_surface(surface, exchange)
      !! Solve the balance; melt snow with what would warm it above the freezing point; respect what is there.
      !!
      !! A path that would take more water than there is gets its conductance cut to what its supply can feed, and
      !! the balance is solved again. The heat flux into the ground is the remainder of the balance, so that no
      !! energy is lost to the tolerance of the iteration.
      type(surface_t), intent(in) :: surface
      type(exchange_t), intent(out) :: exchange
      type(surface_t) :: limited
      real(wp) :: demand(path_count)

      limited = surface
      call melt_or_warm(limited, exchange%skin, exchange%melt)
      demand = evaporated(limited, exchange%skin)
      if (any(demand > surface%supply)) then
         where (demand > surface%supply)
            limited%vapour_conductance = surface%vapour_conductance*surface%supply/demand
         end where
         call melt_or_warm(limited, exchange%skin, exchange%melt)
         demand = evaporated(limited, exchange%skin)
      end if

      exchange%water = min(demand, surface%supply)
      exchange%water(from_snow) = min(exchange%water(from_snow), surface%snow - exchange%melt)
      exchange%emitted = emissivity*stefan_boltzmann*exchange%skin**4
      exchange%sensible = surface%density*heat_capacity_air*surface%heat_conductance*(exchange%skin - surface%tas)
      exchange%latent = sum(latent_heat*exchange%water)/timestep
      exchange%ground = surface%absorbed - exchange%emitted - exchange%sensible - exchange%latent &
         - latent_heat_fusion*exchange%melt/timestep
   end subroutine balance_surface

   pure subroutine melt_or_warm(surface, skin, melt)
      !! Skin temperature and melt: snow stays at the freezing point while it melts.
      type(surface_t), intent(in) :: surface
      real(wp), intent(out) :: skin
         !! [K]
      real(wp), intent(out) :: melt
         !! [kg m-2]
      real(wp) :: water(path_count), surplus, slope, meltable

      melt = 0.0_wp
      skin = skin_temperature(surface, 0.0_wp)
      if (surface%snow <= 0.0_wp .or. skin <= freezing_point) return

      call imbalance(surface, freezing_point, surplus, slope)
      water = evaporated(surface, freezing_point)
      meltable = max(0.0_wp, surface%snow - max(0.0_wp, water(from_snow)))
      melt = surplus*timestep/latent_heat_fusion
      if (melt <= meltable) then
         skin = freezing_point
      else
         melt = meltable
         skin = skin_temperature(surface, latent_heat_fusion*melt/timestep)
      end if
   end subroutine melt_or_warm

   pure real(wp) function skin_temperature(surface, sink) result(skin)
      !! Temperature at which the balance holds, by Newton's method [K].
      !!
      !! The first step from the air temperature is the combination equation of Penman (1948) and Monteith (1965) with
      !! longwave and ground heat in its linear terms; the further steps remove the error of its linear saturation
      !! curve (Paw U and Gao 1988, doi 10.1016/0168-1923(88)90044-2). The balance falls with the temperature,
      !! and ever faster, so the method converges from any start.
      type(surface_t), intent(in) :: surface
      real(wp), intent(in) :: sink
         !! Further use of energy [W m-2].
      real(wp), parameter :: tolerance = 1.0e-7_wp
         !! Of a step that converges quadratically: the result is good to rounding [K].
      integer, parameter :: most_steps = 30
      real(wp) :: surplus, slope, change
      integer :: step

      skin = surface%tas
      do step = 1, most_steps
         call imbalance(surface, skin, surplus, slope)
         change = (surplus - sink)/slope
         skin = skin + change
         if (abs(change) < tolerance) exit
      end do
   end function skin_temperature

   pure subroutine imbalance(surface, skin, surplus, slope)
      !! Energy left over at a skin temperature, and how fast a warmer skin uses it up.
      type(surface_t), intent(in) :: surface
      real(wp), intent(in) :: skin
         !! [K]
      real(wp), intent(out) :: surplus
         !! [W m-2]
      real(wp), intent(out) :: slope
         !! [W m-2 K-1]
      real(wp) :: saturation, saturation_slope, sensible, latent

      call saturation_humidity(skin, surface%ps, saturation, saturation_slope)
      sensible = surface%density*heat_capacity_air*surface%heat_conductance
      latent = surface%density*sum(latent_heat*surface%vapour_conductance)
      surplus = surface%absorbed - emissivity*stefan_boltzmann*skin**4 - sensible*(skin - surface%tas) &
         - latent*(saturation - surface%huss) - surface%ground_conductance*(skin - surface%ground_temperature)
      slope = 4.0_wp*emissivity*stefan_boltzmann*skin**3 + sensible + latent*saturation_slope &
         + surface%ground_conductance
   end subroutine imbalance

   pure function evaporated(surface, skin) result(water)
      !! Water that each path gives to the air in a step [kg m-2].
      type(surface_t), intent(in) :: surface
      real(wp), intent(in) :: skin
         !! [K]
      real(wp) :: water(path_count)
      real(wp) :: saturation, slope

      call saturation_humidity(skin, surface%ps, saturation, slope)
      water = surface%density*surface%vapour_conductance*(saturation - surface%huss)*timestep
   end function evaporated
end module surface_energy

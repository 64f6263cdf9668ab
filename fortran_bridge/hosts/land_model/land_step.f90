! SPDX-License-Identifier: Apache-2.0
!> One hour of the land: the processes in the order in which they act.
module land_step
   use albedo, only: surface_albedo
   use canopy, only: canopy_capacity, canopy_conductance, canopy_cover, wet_fraction
   use constants, only: timestep, wp
   use disaggregation, only: atmosphere_t
   use land_state, only: land_t
   use moist_air, only: air_density, saturation_humidity
   use snow, only: snow_cover
   use soil_heat, only: ground_conductance, warm_soil
   use soil_water, only: available_to_roots, available_to_surface, root_stress, wet_soil, wetness_top
   use surface_energy, only: balance_surface, emissivity, exchange_t, from_leaves, from_roots, from_snow, from_soil, &
      surface_t
   use turbulence, only: aerodynamic_conductance
   implicit none
   private
   public :: step_land

contains

   subroutine step_land(air, ice, emulated, land)
      !! Advance the cells of this rank by one step. Cells do not see each other.
      type(atmosphere_t), intent(in) :: air
      logical, intent(in) :: ice(:)
      logical, intent(in) :: emulated
         !! Whether an emulator steps the cells without ice.
      type(land_t), intent(inout) :: land
      type(surface_t) :: surface
      type(exchange_t) :: exchange
      real(wp) :: throughfall, share_top
      integer :: cell

      do cell = 1, size(ice)
         if (emulated .and. .not. ice(cell)) cycle
         call catch_precipitation(air, land, cell, throughfall)
         call describe_surface(air, ice(cell), land, cell, surface, share_top)
         call balance_surface(surface, exchange)
         call update_water(exchange, ice(cell), share_top, throughfall, land, cell)
         call warm_soil(exchange%ground, land%soil_temperature_top(cell), land%soil_temperature_deep(cell))

         land%skin_temperature(cell) = exchange%skin
         land%evspsbl(cell) = sum(exchange%water)/timestep
         land%transpiration(cell) = exchange%water(from_roots)/timestep
         land%snm(cell) = exchange%melt/timestep
         land%rls(cell) = emissivity*air%rlds(cell) - exchange%emitted
         land%rss(cell) = surface%absorbed - emissivity*air%rlds(cell)
         land%hfls(cell) = exchange%latent
         land%hfss(cell) = exchange%sensible
         land%hfds(cell) = exchange%ground
      end do
   end subroutine step_land

   pure subroutine catch_precipitation(air, land, cell, throughfall)
      !! Snow piles up on the ground; leaves catch the rain that falls on them until they are full.
      type(atmosphere_t), intent(in) :: air
      type(land_t), intent(inout) :: land
      integer, intent(in) :: cell
      real(wp), intent(out) :: throughfall
         !! Rain that reaches the ground in the step [kg m-2].
      real(wp) :: rain, room, caught

      land%snw(cell) = land%snw(cell) + air%snowfall(cell)*timestep
      rain = (air%pr(cell) - air%snowfall(cell))*timestep
      room = canopy_capacity(land%lai(cell)) - land%canopy_water(cell)  ! negative where leaves have been lost
      caught = max(-land%canopy_water(cell), min(room, canopy_cover(land%lai(cell))*rain))
      land%canopy_water(cell) = land%canopy_water(cell) + caught
      throughfall = rain - caught
   end subroutine catch_precipitation

   pure subroutine describe_surface(air, ice, land, cell, surface, share_top)
      !! Collect what the energy balance needs: radiation, conductances, and the water that is there.
      type(atmosphere_t), intent(in) :: air
      logical, intent(in) :: ice
      type(land_t), intent(in) :: land
      integer, intent(in) :: cell
      type(surface_t), intent(out) :: surface
      real(wp), intent(out) :: share_top
         !! Part of the transpiration that comes from the upper soil layer [1].
      real(wp) :: cover, snow_covered, wet, wetness, saturation, slope, stress, from_top, from_root, stomata, &
         aerodynamic

      cover = canopy_cover(land%lai(cell))
      snow_covered = snow_cover(land%snw(cell))
      wet = wet_fraction(land%canopy_water(cell), canopy_capacity(land%lai(cell)))
      wetness = wetness_top(land%soil_water_top(cell))
      aerodynamic = aerodynamic_conductance(air%wind(cell), air%tas(cell), land%skin_temperature(cell), land%lai(cell))
      call saturation_humidity(air%tas(cell), air%ps(cell), saturation, slope)
      call root_stress(land%soil_water_top(cell), land%soil_water_root(cell), stress, share_top)
      call available_to_roots(land%soil_water_top(cell), land%soil_water_root(cell), from_top, from_root)
      stomata = 0.0_wp
      if (cover > 0.0_wp) stomata = canopy_conductance(land%lai(cell)/cover, air%rsds(cell), air%tas(cell), &
         saturation - air%huss(cell), stress)

      surface%absorbed = (1.0_wp - surface_albedo(cover, snow_covered, wetness, land%skin_temperature(cell))) &
         *air%rsds(cell) + emissivity*air%rlds(cell)
      surface%tas = air%tas(cell)
      surface%huss = air%huss(cell)
      surface%ps = air%ps(cell)
      surface%density = air_density(air%tas(cell), air%ps(cell), air%huss(cell))
      surface%heat_conductance = aerodynamic
      surface%vapour_conductance(from_snow) = snow_covered*aerodynamic
      surface%vapour_conductance(from_leaves) = (1.0_wp - snow_covered)*cover*wet*aerodynamic
      surface%vapour_conductance(from_roots) = (1.0_wp - snow_covered)*cover*(1.0_wp - wet) &
         *in_series(aerodynamic, stomata)
      surface%vapour_conductance(from_soil) = (1.0_wp - snow_covered)*(1.0_wp - cover) &
         *in_series(aerodynamic, merge(0.0_wp, soil_conductance(wetness), ice))
      surface%supply(from_snow) = land%snw(cell)
      surface%supply(from_leaves) = land%canopy_water(cell)
      surface%supply(from_roots) = 0.0_wp
      if (from_top > 0.0_wp .or. from_root > 0.0_wp) surface%supply(from_roots) = root_supply(from_top, from_root)
      surface%supply(from_soil) = available_to_surface(land%soil_water_top(cell))
      surface%ground_conductance = ground_conductance(land%snw(cell))
      surface%ground_temperature = land%soil_temperature_top(cell)
      surface%snow = land%snw(cell)

   contains

      pure real(wp) function root_supply(top, root)
         !! Transpiration that neither layer is too dry for, each giving its share [kg m-2].
         real(wp), intent(in) :: top
         real(wp), intent(in) :: root

         root_supply = top + root
         if (share_top > 0.0_wp) root_supply = min(root_supply, top/share_top)
         if (share_top < 1.0_wp) root_supply = min(root_supply, root/(1.0_wp - share_top))
      end function root_supply
   end subroutine describe_surface

   pure subroutine update_water(exchange, ice, share_top, throughfall, land, cell)
      !! Take from the stores what went into the air, and let the rest of the water run.
      type(exchange_t), intent(in) :: exchange
      logical, intent(in) :: ice
      real(wp), intent(in) :: share_top
      real(wp), intent(in) :: throughfall
         !! [kg m-2]
      type(land_t), intent(inout) :: land
      integer, intent(in) :: cell
      real(wp) :: transpired, evaporated, dew, runoff

      transpired = max(0.0_wp, exchange%water(from_roots))
      evaporated = max(0.0_wp, exchange%water(from_soil))
      dew = (transpired - exchange%water(from_roots)) + (evaporated - exchange%water(from_soil))

      land%snw(cell) = max(0.0_wp, land%snw(cell) - exchange%water(from_snow) - exchange%melt)
      land%canopy_water(cell) = land%canopy_water(cell) - exchange%water(from_leaves)
      if (ice) then
         runoff = throughfall + exchange%melt + dew
      else
         land%soil_water_top(cell) = land%soil_water_top(cell) - share_top*transpired - evaporated
         land%soil_water_root(cell) = land%soil_water_root(cell) - (1.0_wp - share_top)*transpired
         call wet_soil(throughfall + exchange%melt + dew, land%soil_water_top(cell), land%soil_water_root(cell), runoff)
      end if
      land%mrro(cell) = runoff/timestep
      land%mrso(cell) = land%soil_water_top(cell) + land%soil_water_root(cell)
   end subroutine update_water

   elemental real(wp) function soil_conductance(wetness)
      !! Conductance of the surface of a bare soil [m s-1].
      !!
      !! Sellers et al. (1992, doi 10.1029/91JD02570), from the saturation of the upper layer.
      real(wp), intent(in) :: wetness
         !! [1]

      soil_conductance = exp(-(8.206_wp - 4.255_wp*wetness))
   end function soil_conductance

   elemental real(wp) function in_series(first, second)
      !! Conductance of two conductors in series; none where either has none [m s-1].
      real(wp), intent(in) :: first
      real(wp), intent(in) :: second

      in_series = 0.0_wp
      if (first > 0.0_wp .and. second > 0.0_wp) in_series = first*second/(first + second)
   end function in_series
end module land_step
